"""What every service is built on: settings, broker, worker loop, logs, health."""
