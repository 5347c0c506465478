"""Quicker forms of plain layers and passes, each tested against the plain form."""
