"""Is a training going well: measures at every report, what they mean together, and the words for it."""
