"""`python -m sflsim` is `sflsim`."""

from sflsim.cli import main

if __name__ == "__main__":
    main()
