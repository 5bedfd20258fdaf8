"""What a run stands on: processes, signals, files, folders, errors, trust."""
