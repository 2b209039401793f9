"""How parts come to be: processes with an explicit state that is stepped. Rows and numbers only: no words, no pictures."""
