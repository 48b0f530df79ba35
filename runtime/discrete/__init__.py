"""Search and sums over discrete unknowns: tables, elimination orders, exact and local search."""
