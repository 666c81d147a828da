"""Examples that are read by row number: any object with a length, on disk or behind a library."""
