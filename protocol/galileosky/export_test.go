package galileosky

// Size is the size of a tag's value.
func Size(tag byte, b []byte) int { return size(tag, b) }
