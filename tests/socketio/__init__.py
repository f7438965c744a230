"""The seam to python-socketio and python-engineio."""
