"""`python -m togi`: the commands, where the `togi` script is not on the path."""

from togi.cli import main

main()
