"""Models as parts of other models.

`use M as p with u = e` joins M's sum to the one around it: the checked M is copied with its names
behind a prefix (`p.z`), its sizes solved from what is bound, its plates inside those that surround
the statement. A part is checked once, where it is declared; only what is bound to it is checked
where it is used.
"""
