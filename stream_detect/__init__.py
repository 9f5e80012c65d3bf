"""Real-time, local, calibrated deepfake detection."""
