"""How parts come to be: processes with a state that is stepped. Rows and numbers only: no words, no pictures."""
