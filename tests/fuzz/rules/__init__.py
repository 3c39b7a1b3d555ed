"""The rules of hostile files, by kind of file."""

from tests.fuzz.rules import archives, pickles, pictures, records, tensors, text

__all__ = ["archives", "pickles", "pictures", "records", "tensors", "text"]
