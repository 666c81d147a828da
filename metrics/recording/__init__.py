"""Recording a metric from anywhere inside a step."""
