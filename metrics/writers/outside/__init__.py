"""Writers of formats and programs that people use besides: CSV, MLflow, Weights & Biases; and a user's own."""
