"""Networks trained end to end: built, fed, trained, judged and kept."""
