"""Sources of tables that are read by row number: csv and parquet."""
