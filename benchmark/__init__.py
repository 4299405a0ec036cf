"""Plan, protocol, features, training and execution of cells; the command line."""
