"""Parts of a sentence: its nouns and verbs, and texts made of them."""
