"""`python -m kalguard_ext_authz` is the command `kalguard`."""

from .cli import main

main(prog_name="kalguard")
