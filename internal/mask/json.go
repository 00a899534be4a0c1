package mask

// json searches a document string by string.
func (c *scanner) json(dst, v []byte, h hint) ([]byte, bool) {
	dst, hit := c.text(dst, v, h)
	return dst, hit
}
