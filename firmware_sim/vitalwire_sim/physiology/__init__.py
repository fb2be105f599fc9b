"""A patient in software: ECG, respiration and vital signs that come from one body and move together."""
