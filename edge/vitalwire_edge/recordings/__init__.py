"""Real recordings as a source of ECG: the toy record, WFDB, EDF and CSV files."""
