"""The machine, its disk, and the program around diptych."""
