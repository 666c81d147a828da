"""What describes a run to the writers: its hyperparameters, config, command line, model and README."""
