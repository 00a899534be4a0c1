package mask

// Columns reports whether any column rule applies to the target at all. Where
// one does, free text of the target (error details, notices) is not trusted.
func (s *Set) Columns(target string) bool {
	for i := range s.columns {
		if matchTarget(s.columns[i].targets, target) {
			return true
		}
	}
	return false
}
