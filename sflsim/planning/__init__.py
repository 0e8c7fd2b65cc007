"""Many experiments and the search over them. Imports the public API's layers; optuna only when it is used."""
