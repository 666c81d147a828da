"""The compiled graph: the train and eval loops, and what one replica does in a step."""
