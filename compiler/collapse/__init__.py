"""Whether training can end in constants: nets and maps that say the same about all data.

`constants` puts constants in the place of what is trained and works out what follows, `verdict` compares the
terms with their lower bounds. Where constants bring every term that they touch to a proven lower bound, no
parameters give less, whatever the data: the representation can collapse (Hadsell, Chopra & LeCun 2006;
Bardes, Ponce & LeCun 2022).
"""
