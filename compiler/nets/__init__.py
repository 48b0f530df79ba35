"""Neural functions: their declarations, their constructors, and calls of them."""
