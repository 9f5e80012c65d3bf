"""What lies between a camera and a detector: light, filters, resampling, codecs, lost packets."""
