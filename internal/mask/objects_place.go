package mask

import "bytes"

// flags are what is known of an object.
type flags uint8

const (
	flagSecret flags = 1 << iota // it is a Secret, or a part of one
	flagKind                     // it has said its kind
	flagList                     // it is a list
	flagTable                    // it is a Table
	flagCore                     // it is of the API version v1
	flagShown                    // its data was shown
)

// place is where a value stands, and so what becomes of it. It follows from
// the place of the array or object around it and the key.
type place uint8

const (
	placePlain place = iota // searched, as all that is not named below
	placeData               // searched: data of an object that is no Secret by what is known
	placeAny                // searched: in JSON that is not of Kubernetes, so that no key has a meaning

	// Strings.
	placeKeep    // left alone: clients cannot work without it
	placeKind    // kind
	placeVersion // apiVersion
	placeScalar  // searched; nothing lies below it
	placeName    // searched, and names the value beside it
	placeValue   // searched, named by the name beside it
	placeBinary  // bytes in base64
	placeApplied // the object itself, as JSON, in an annotation of kubectl
	placeMessage // what the server says in words about a Secret
	placeHeading // the name of a column of a Table: left alone

	// Strings, numbers, and all that lies below.
	placeHidden       // never shown
	placeHiddenBase64 // never shown; base64 is expected
	placeHiddenMaybe  // not shown where it is base64
	placeStatic       // left alone: what a Table says of its columns

	// Objects.
	placeObject      // a Kubernetes object, list, Table or Status
	placeEvent       // of a watch
	placeMeta        // metadata of an object
	placeAnnotations //
	placeMap         // any keys: none has a meaning
	placeBinaryMap   // binaryData of a ConfigMap
	placeSpec        //
	placeTemplate    // of objects: spec.template of a Deployment
	placeOwner       // of ownerReferences
	placeManaged     // of managedFields
	placeColumn      // of a Table
	placeRow         // of a Table
	placeDetails     // of a Status
	placeCause       // of a Status

	// Arrays.
	placeItems
	placeOwners
	placeManagedFields
	placeTemplates
	placeColumns
	placeRows
	placeCells
	placeCauses
)

// inside is the place of an array or object that begins where a value of place
// p is expected. One that is not of the form that the place has is nothing
// that is known.
func (p place) inside(array bool, f flags) place {
	switch {
	case p >= placeItems && array, p >= placeObject && p < placeItems && !array:
		return p
	case p >= placeHidden && p <= placeStatic, p == placePlain, p == placeData, p == placeAny:
		return p
	case f&flagSecret != 0 && p != placeName && p != placeValue:
		return placeHidden
	}
	return placePlain
}

// element is the place of the elements of an array.
func (p place) element() place {
	switch p {
	case placeItems:
		return placeObject
	case placeOwners:
		return placeOwner
	case placeManagedFields:
		return placeManaged
	case placeTemplates:
		return placeTemplate
	case placeColumns:
		return placeColumn
	case placeRows:
		return placeRow
	case placeCells:
		return placePlain
	case placeCauses:
		return placeCause
	}
	return p
}

// listing reports whether the elements are what [Objects.Rows] counts.
func (p place) listing() bool { return p == placeItems || p == placeRows }

// hides reports whether a number, true or false is not shown here.
func (p place) hides(f flags) bool {
	switch p {
	case placeHidden, placeHiddenBase64, placeMessage:
		return true
	}
	return p >= placeObject && f&flagSecret != 0
}

// lastApplied is the annotation in which kubectl keeps what was applied.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// placeOf says where the value of a key stands. The key is decoded.
func (f *frame) placeOf(key []byte) place {
	secret := f.flags&flagSecret != 0
	switch f.place {
	case placePlain, placeData:
		return f.plain(key)
	case placeMap:
		return placePlain
	case placeAny:
		switch string(key) { // a pair, as many services have them
		case "name", "key":
			return placeName
		case "value":
			return placeValue
		}
		return placeAny
	case placeObject:
		if p, ok := f.object(key); ok {
			return p
		} else if secret {
			return placeHidden
		}
		return f.plain(key)
	case placeEvent:
		switch string(key) {
		case "type":
			return placeKeep
		case "object":
			return placeObject
		}
	case placeMeta:
		return f.meta(key)
	case placeAnnotations:
		if string(key) == lastApplied {
			return placeApplied
		}
		if secret && !shownAnnotations[string(key)] {
			return placeHidden
		}
		return placePlain
	case placeBinaryMap:
		return placeBinary
	case placeSpec, placeTemplate:
		switch string(key) {
		case "metadata":
			if f.place == placeTemplate {
				return placeMeta
			}
		case "spec":
			if f.place == placeTemplate {
				return placeSpec
			}
		case "template", "jobTemplate":
			return placeTemplate
		case "volumeClaimTemplates":
			return placeTemplates
		}
		return f.plain(key)
	case placeOwner:
		switch string(key) {
		case "apiVersion", "kind", "name", "uid":
			return placeKeep
		}
		return placePlain
	case placeManaged:
		switch string(key) {
		case "apiVersion", "operation", "fieldsType", "time":
			return placeKeep
		}
		return placePlain
	case placeColumn:
		if string(key) == "name" {
			return placeHeading
		}
		return placeStatic
	case placeRow:
		switch string(key) {
		case "cells":
			return placeCells
		case "object":
			return placeObject
		case "conditions":
			return placePlain
		}
	case placeDetails:
		switch string(key) {
		case "name", "group", "kind", "uid", "retryAfterSeconds":
			return placeScalar
		case "causes":
			return placeCauses
		}
	case placeCause:
		switch string(key) {
		case "reason", "field":
			return placeScalar
		case "message":
			return placeMessage
		}
	default: // a place that is the same all the way down
		return f.place
	}
	if secret {
		return placeHidden
	}
	return placePlain
}

// plain is placeOf in an object of which nothing is known. It may still say
// that it is a Secret: an object within an object.
func (f *frame) plain(key []byte) place {
	switch string(key) {
	case "kind":
		return placeKind
	case "apiVersion":
		return placeVersion
	case "name", "key":
		return placeName
	case "value":
		return placeValue
	case "stringData": // nothing but Secrets has it
		return placeHidden
	case "data":
		return f.data()
	case "metadata":
		if f.flags&flagSecret != 0 {
			return placeMeta
		}
	case "items":
		if f.flags&flagSecret != 0 && f.flags&flagList != 0 {
			return placeItems
		}
	}
	return placePlain
}

// data is the place of the member of this name.
func (f *frame) data() place {
	switch {
	case f.flags&flagSecret != 0:
		return placeHiddenBase64
	case f.flags&flagKind == 0 && f.flags&flagCore != 0: // a Secret or a ConfigMap, as a map in order of its keys
		return placeHiddenMaybe
	}
	return placeData
}

// object is placeOf for what is known of objects.
func (f *frame) object(key []byte) (place, bool) {
	secret := f.flags&flagSecret != 0
	switch string(key) {
	case "kind":
		return placeKind, true
	case "apiVersion":
		return placeVersion, true
	case "metadata":
		return placeMeta, true
	case "items":
		return placeItems, f.flags&flagKind == 0 || f.flags&flagList != 0
	case "columnDefinitions":
		return placeColumns, f.flags&flagTable != 0
	case "rows":
		return placeRows, f.flags&flagTable != 0
	case "spec":
		return placeSpec, !secret
	case "template":
		return placeTemplate, !secret
	case "binaryData":
		return placeBinaryMap, !secret
	case "data":
		return f.data(), true
	case "stringData":
		return placeHidden, true
	// Of Secrets and of what is said about them.
	case "immutable", "type", "status", "reason", "code":
		return placeScalar, secret
	case "message":
		return placeMessage, secret
	case "details":
		return placeDetails, secret
	}
	return placePlain, false
}

// meta is placeOf in the metadata of an object or a list.
func (f *frame) meta(key []byte) place {
	switch string(key) {
	case "name", "namespace", "uid", "resourceVersion", "generateName", "creationTimestamp", "deletionTimestamp", "continue", "selfLink":
		return placeKeep
	case "labels":
		return placeMap
	case "annotations":
		return placeAnnotations
	case "ownerReferences":
		return placeOwners
	case "managedFields":
		return placeManagedFields
	case "finalizers":
		return placePlain
	case "generation", "deletionGracePeriodSeconds", "remainingItemCount":
		return placeScalar
	}
	if f.flags&flagSecret != 0 {
		return placeHidden
	}
	return placePlain
}

// isKind takes note of the kind of an object. Late: it is a Secret, and its
// values were shown.
func (f *frame) isKind(kind []byte) (late bool) {
	f.flags |= flagKind
	switch {
	case string(kind) == "Secret":
		f.flags |= flagSecret
		return f.flags&flagShown != 0
	case string(kind) == "SecretList":
		f.flags |= flagSecret
	case string(kind) == "Table":
		f.flags |= flagTable
	}
	if bytes.HasSuffix(kind, listSuffix) {
		f.flags |= flagList
	}
	return false
}

var listSuffix = []byte("List")
