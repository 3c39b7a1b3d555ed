"""Tools of the project: figures of the documentation, a report on the code, the wheel that is tried."""
