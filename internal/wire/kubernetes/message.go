package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	discoveryv2 "k8s.io/api/apidiscovery/v2"
	discoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

// MaxMessage bounds a message in either form, in bytes. It takes some ten times
// as much memory to turn one.
const MaxMessage = 16 << 20

// Errors of this package. Each says in its text what was wrong and where.
var (
	// ErrMessage: the bytes are no message at all.
	ErrMessage = errors.New("not a Kubernetes message")
	// ErrUnknownKind: the message is of a kind that is not known here: of a
	// custom resource, an aggregated API, or a newer Kubernetes.
	ErrUnknownKind = errors.New("a kind that has no known protobuf form: ask for JSON (Accept: application/json)")
	// ErrLossy: the message holds something that the other form would not say.
	ErrLossy = errors.New("the message does not survive the way between protobuf and JSON: use JSON (application/json)")
)

// magic opens a message in protobuf; a runtime.Unknown follows. The form is
// described in k8s.io/apimachinery/pkg/runtime/serializer/protobuf.
var magic = []byte("k8s\x00")

// known holds the kinds that can be turned: those of client-go, and the
// general ones of the API machinery.
var known = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientscheme.AddToScheme, metav1.AddMetaToScheme, metav1beta1.AddMetaToScheme, discoveryv2.AddToScheme, discoveryv2beta1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err) // it cannot be: nothing is registered twice
		}
	}
	// Options and Status come under the group of the API machinery too.
	metav1.AddToGroupVersion(s, metav1.SchemeGroupVersion)
	return s
})

// strict reads JSON of known kinds, and refuses fields that these do not have
// and keys that stand twice.
var strict = sync.OnceValue(func() runtime.Decoder {
	return serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, known(), known(), serializer.SerializerOptions{Strict: true})
})

// message is what the generated types of Kubernetes do.
type message interface {
	runtime.Object
	Reset()
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// IsProtobuf reports whether b begins as a message in protobuf does.
func IsProtobuf(b []byte) bool { return bytes.HasPrefix(b, magic) }

// ToJSON turns a message in protobuf, with its envelope, into JSON. Errors:
// [ErrMessage], [ErrUnknownKind], [ErrLossy].
func ToJSON(b []byte) ([]byte, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes: at most %d", ErrMessage, len(b), MaxMessage)
	}
	if !IsProtobuf(b) {
		return nil, fmt.Errorf("%w: it does not begin with the bytes k8s and zero", ErrMessage)
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(b[len(magic):]); err != nil {
		return nil, fmt.Errorf("%w: its envelope: %w", ErrMessage, err)
	}
	again, err := envelope.Marshal()
	if err != nil || !same(b[len(magic):], again, 0) {
		return nil, fmt.Errorf("%w: its envelope has unknown fields", ErrLossy)
	}
	if envelope.ContentEncoding != "" || envelope.ContentType != "" && envelope.ContentType != runtime.ContentTypeProtobuf {
		return nil, fmt.Errorf("%w: its content is %.60q, encoded as %.60q, not plain protobuf", ErrMessage, envelope.ContentType, envelope.ContentEncoding)
	}
	gvk := envelope.GroupVersionKind()
	m, err := create(gvk)
	if err != nil {
		return nil, err
	}
	if err := m.Unmarshal(envelope.Raw); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMessage, gvk, err)
	}
	m.GetObjectKind().SetGroupVersionKind(gvk)
	doc, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: JSON cannot hold it: %w", ErrLossy, gvk, err)
	}
	// What JSON says must be all that was there.
	_, raw, err := read(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLossy, gvk, err)
	}
	if !same(envelope.Raw, raw, 0) {
		return nil, fmt.Errorf("%w: %s: fields that are not known here, or values that JSON cannot hold", ErrLossy, gvk)
	}
	return doc, nil
}

// FromJSON turns a message in JSON into protobuf, with its envelope. Errors:
// [ErrMessage], [ErrUnknownKind], [ErrLossy]. What an empty value says (null,
// "", 0, false, {}, []) where a field is optional is the same as no value: the
// Kubernetes types cannot tell them apart in protobuf.
func FromJSON(b []byte) ([]byte, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes: at most %d", ErrMessage, len(b), MaxMessage)
	}
	gvk, raw, err := read(b)
	if err != nil {
		return nil, err
	}
	m, err := create(gvk)
	if err != nil {
		return nil, err
	}
	if err := m.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLossy, gvk, err)
	}
	m.GetObjectKind().SetGroupVersionKind(gvk)
	doc, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLossy, gvk, err)
	}
	if where := difference(b, doc); where != "" {
		return nil, fmt.Errorf("%w: %s: at %s", ErrLossy, gvk, where)
	}
	envelope := runtime.Unknown{Raw: raw}
	envelope.APIVersion, envelope.Kind = gvk.ToAPIVersionAndKind()
	out, err := envelope.Marshal()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLossy, gvk, err)
	}
	return append(bytes.Clone(magic), out...), nil
}

// create makes an empty message of a kind.
func create(gvk schema.GroupVersionKind) (message, error) {
	if gvk.Kind == "" || gvk.Version == "" {
		return nil, fmt.Errorf("%w: it does not say its kind and version", ErrMessage)
	}
	object, err := known().New(gvk)
	if err != nil {
		return nil, fmt.Errorf("%w: %.200s", ErrUnknownKind, gvk)
	}
	m, ok := object.(message)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownKind, gvk)
	}
	return m, nil
}

// read turns JSON into protobuf without an envelope, and says its kind.
func read(doc []byte) (schema.GroupVersionKind, []byte, error) {
	object, gvk, err := strict().Decode(doc, nil, nil)
	if gvk == nil {
		gvk = &schema.GroupVersionKind{}
	}
	switch {
	case runtime.IsNotRegisteredError(err):
		return *gvk, nil, fmt.Errorf("%w: %.200s", ErrUnknownKind, gvk)
	case runtime.IsMissingKind(err), runtime.IsMissingVersion(err):
		return *gvk, nil, fmt.Errorf("%w: it does not say its kind and version", ErrMessage)
	case runtime.IsStrictDecodingError(err):
		return *gvk, nil, fmt.Errorf("%w: %s: %w", ErrLossy, gvk, err)
	case err != nil:
		return *gvk, nil, fmt.Errorf("%w: %.200s: %w", ErrMessage, gvk, err)
	}
	m, ok := object.(message)
	if !ok {
		return *gvk, nil, fmt.Errorf("%w: %s", ErrUnknownKind, gvk)
	}
	raw, err := m.Marshal()
	if err != nil {
		return *gvk, nil, fmt.Errorf("%w: %s: %w", ErrLossy, gvk, err)
	}
	return *gvk, raw, nil
}
