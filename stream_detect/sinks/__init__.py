"""Where alerts go besides the console: webhooks, MQTT brokers and commands, none of which slows the loop."""
