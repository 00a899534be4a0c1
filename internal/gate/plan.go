package gate

import "github.com/doorward/doorward/internal/mask"

// What an adapter needs of masking, under the gate's name: adapters see the
// gate, and the gate sees mask.
type (
	// MaskColumn describes one output column to Reply.Plan.
	MaskColumn = mask.PlanColumn
	// MaskPlan masks the fields of rows.
	MaskPlan = mask.Plan
	// CopyMasker masks a COPY stream.
	CopyMasker = mask.CopyMasker
	// MaskStream masks a stream of text.
	MaskStream = mask.Stream
	// MaskObjects masks JSON: what a Kubernetes API server or an HTTP service
	// sends.
	MaskObjects = mask.Objects
	// MaskEvents masks server-sent events.
	MaskEvents = mask.Events
	// MaskArchive masks the files of a tar archive.
	MaskArchive = mask.Archive
	// ObjectsOptions says what it sends.
	ObjectsOptions = mask.ObjectsOptions
)

// HoldsSecretMarker reports whether a text holds what stands where the value of
// a Secret was.
func HoldsSecretMarker(text []byte) bool { return mask.HoldsSecretMarker(text) }

// Objects starts masking an answer of the session's API server or service.
func (s *Session) Objects(opt ObjectsOptions) *MaskObjects {
	return s.gate.rules.Load().Masks.Objects(s.Target.Name, opt)
}

// Passes reports whether the plan lets the bytes of a column pass unseen.
func Passes(p *MaskPlan, col int) bool { return p.Column(col) == mask.Pass }

// MasksColumns reports whether any column of the session's target is masked, so
// that free text of the target is not to be trusted.
func (s *Session) MasksColumns() bool {
	return s.gate.rules.Load().Masks.Columns(s.Target.Name)
}

// Detects reports whether values are looked for in what the session's target
// sends.
func (s *Session) Detects() bool { return s.gate.rules.Load().Masks.Detects(s.Target.Name) }

// MasksFields reports whether fields of what the session's target sends are
// masked by their names, so that what has no fields is not to be trusted.
func (s *Session) MasksFields() bool { return s.gate.rules.Load().Masks.Fields(s.Target.Name) }

// Events starts masking the server-sent events that answer a request, named by
// its method and path.
func (s *Session) Events(request string) *MaskEvents {
	return s.gate.rules.Load().Masks.Events(s.Target.Name, request)
}

// Stream starts masking a stream of text that the session's target sends. It is
// nil where nothing is looked for: the bytes pass as they are.
func (s *Session) Stream() *MaskStream {
	m := s.gate.rules.Load().Masks
	if !m.Detects(s.Target.Name) {
		return nil
	}
	return m.Stream(s.Target.Name)
}

// Archive starts masking a tar archive that the session's target sends.
func (s *Session) Archive() *MaskArchive {
	return s.gate.rules.Load().Masks.Archive(s.Target.Name)
}

// Whole masks a text that is whole, such as a file.
func (s *Session) Whole(text []byte) []byte {
	return s.gate.rules.Load().Masks.Whole(s.Target.Name, nil, text)
}
