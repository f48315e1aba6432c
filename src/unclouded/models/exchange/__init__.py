"""Networks in the formats of other programs: ONNX, OpenVINO, torch programs, with their descriptions."""
