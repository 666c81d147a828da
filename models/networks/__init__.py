"""Networks and layers: functions that make a `keras.Model`, for any task."""
