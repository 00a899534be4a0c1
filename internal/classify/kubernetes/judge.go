package kubernetes

import (
	"strings"

	"github.com/doorward/doorward"
)

// nature is what it means to write a kind of object.
type nature struct {
	verb   doorward.Verb // instead of create and update, and beside delete; 0 is none
	traits doorward.Trait
}

// natures are the resources that are more than data, by group/resource, or by
// group/* for all of a group.
var natures = map[string]nature{
	// who may do what, and who is who
	"rbac.authorization.k8s.io/*":                {doorward.VerbGrant, doorward.TraitRBAC},
	"certificates.k8s.io/*":                      {doorward.VerbGrant, doorward.TraitToken},
	"authentication.k8s.io/tokenreviews":         {doorward.VerbGrant, doorward.TraitToken},
	"extensions/podsecuritypolicies":             {doorward.VerbGrant, 0},
	"policy/podsecuritypolicies":                 {doorward.VerbGrant, 0},
	"/secrets":                                   {0, doorward.TraitSecret},
	"admissionregistration.k8s.io/*":             {doorward.VerbDefine, doorward.TraitWebhook},
	"apiregistration.k8s.io/*":                   {doorward.VerbDefine, doorward.TraitWebhook},
	"auditregistration.k8s.io/*":                 {doorward.VerbDefine, doorward.TraitWebhook},
	"apiextensions.k8s.io/*":                     {doorward.VerbDefine, 0},
	"flowcontrol.apiserver.k8s.io/*":             {doorward.VerbDefine, 0},
	"internal.apiserver.k8s.io/*":                {doorward.VerbDefine, 0},
	"storagemigration.k8s.io/*":                  {doorward.VerbDefine, 0},
	"settings.k8s.io/*":                          {doorward.VerbDefine, 0},
	"node.k8s.io/*":                              {doorward.VerbDefine, 0},
	"scheduling.k8s.io/priorityclasses":          {doorward.VerbDefine, 0},
	"networking.k8s.io/ingressclasses":           {doorward.VerbDefine, 0},
	"networking.k8s.io/servicecidrs":             {doorward.VerbDefine, 0},
	"storage.k8s.io/storageclasses":              {doorward.VerbDefine, 0},
	"storage.k8s.io/csidrivers":                  {doorward.VerbDefine, 0},
	"storage.k8s.io/volumeattributesclasses":     {doorward.VerbDefine, 0},
	"resource.k8s.io/deviceclasses":              {doorward.VerbDefine, 0},
	"resource.k8s.io/devicetaintrules":           {doorward.VerbAdmin, 0},
	"resource.k8s.io/resourceslices":             {doorward.VerbAdmin, 0},
	"resource.k8s.io/resourcepoolstatusrequests": {doorward.VerbAdmin, 0},
	// the machines, and what they stand on
	"/nodes":                           {doorward.VerbAdmin, 0},
	"/persistentvolumes":               {doorward.VerbAdmin, 0},
	"/componentstatuses":               {doorward.VerbAdmin, 0},
	"/bindings":                        {doorward.VerbAdmin, 0},
	"networking.k8s.io/ipaddresses":    {doorward.VerbAdmin, 0},
	"storage.k8s.io/csinodes":          {doorward.VerbAdmin, 0},
	"storage.k8s.io/volumeattachments": {doorward.VerbAdmin, 0},
}

func natureOf(a *Attributes) nature {
	if n, ok := natures[a.Group+"/"+a.Resource]; ok {
		return n
	}
	return natures[a.Group+"/*"]
}

// asks are reviews: an object is created, and nothing stays.
var asks = set(strings.Fields(`authorization.k8s.io/localsubjectaccessreviews authorization.k8s.io/selfsubjectaccessreviews
	authorization.k8s.io/selfsubjectrulesreviews authorization.k8s.io/subjectaccessreviews authentication.k8s.io/selfsubjectreviews`))

// lasting are resources whose deletion takes data, or other objects, with it
// that the cluster cannot bring back.
var lasting = set(strings.Fields("/namespaces /persistentvolumeclaims /persistentvolumes apiextensions.k8s.io/customresourcedefinitions"))

// judge gives the verb on the request's own object, and the traits.
func (f *facts) judge(r *Request) (doorward.Verb, doorward.Trait) {
	traits := natureOf(&f.Attributes).traits & doorward.TraitSecret // also of a read
	switch {
	case f.core("nodes", "proxy"):
		return doorward.VerbAdmin | doorward.VerbExecute, doorward.TraitNodeProxy | doorward.TraitLeaves
	case f.proxied(), f.core("pods", StreamPortForward):
		return doorward.VerbExecute, doorward.TraitLeaves
	case f.stream() != "":
		return doorward.VerbExecute, 0
	}
	switch f.Verb {
	case "get", "list", "watch":
		return doorward.VerbRead, traits | f.massRead(r)
	}
	if f.Verb == "create" && asks[f.Group+"/"+f.Resource] {
		return doorward.VerbRead, traits
	}
	verb, more := f.judgeWrite(r)
	return verb, traits | more
}

// massRead marks what nothing bounds and what is likely to be large: a list of
// all namespaces without a limit, and a log from its beginning.
func (f *facts) massRead(r *Request) doorward.Trait {
	q := r.Query
	switch {
	case f.core("pods", "log"):
		if !q.Has("tailLines") && !q.Has("limitBytes") && !q.Has("sinceSeconds") && !q.Has("sinceTime") {
			return doorward.TraitMassRead
		}
	case f.Verb == "list" && f.objectName() == "*/*" && (!q.Has("limit") || q.Get("limit") == "0"):
		return doorward.TraitMassRead
	}
	return 0
}

// judgeWrite gives verb and traits of what changes something.
func (f *facts) judgeWrite(r *Request) (verb doorward.Verb, traits doorward.Trait) {
	n := natureOf(&f.Attributes)
	traits = n.traits
	switch f.Verb {
	case "create":
		verb = doorward.VerbCreate
	case "update":
		verb = doorward.VerbUpdate
		if puts[f.Group+"/"+f.Resource] && f.Subresource == "" {
			verb |= doorward.VerbCreate
		}
	case "patch":
		verb = doorward.VerbUpdate
		if r.ContentType == typeApply && f.Subresource == "" {
			verb |= doorward.VerbCreate
		}
	case "delete", "deletecollection":
		verb = doorward.VerbDelete
	default:
		verb = doorward.VerbUnknown
	}
	if n.verb != 0 {
		verb = verb&doorward.VerbDelete | n.verb
	}
	if verb.Has(doorward.VerbDelete) && f.Subresource == "" {
		traits |= f.judgeDelete()
	}
	v, t := f.judgeSubresource(verb)
	traits |= t
	if f.scalesToZero(r) {
		traits |= doorward.TraitScaleToZero
	}
	if f.setsWebhook(r) {
		traits |= doorward.TraitWebhook
	}
	if f.makesToken() {
		traits |= doorward.TraitToken
		v |= doorward.VerbGrant
	}
	return v, traits
}

// puts are resources that a PUT creates where they are not there yet
// (AllowCreateOnUpdate in the API server's registry).
var puts = set(strings.Fields(`node.k8s.io/runtimeclasses coordination.k8s.io/leases coordination.k8s.io/leasecandidates
	/limitranges /events events.k8s.io/events /services /endpoints`))

func (f *facts) judgeDelete() doorward.Trait {
	var traits doorward.Trait
	if f.Verb == "deletecollection" {
		traits |= doorward.TraitDeleteCollection | doorward.TraitUnbounded
	}
	if lasting[f.Group+"/"+f.Resource] {
		traits |= doorward.TraitIrreversible
	}
	switch f.gvr() {
	case "namespaces":
		traits |= doorward.TraitDeletesNamespace | doorward.TraitUnbounded
	case "customresourcedefinitions.apiextensions.k8s.io":
		traits |= doorward.TraitUnbounded // and every object of it
	}
	return traits
}

// judgeSubresource gives what a write of a subresource is, and the verb as it
// was for what is no special one.
func (f *facts) judgeSubresource(verb doorward.Verb) (doorward.Verb, doorward.Trait) {
	switch {
	case f.core("pods", "ephemeralcontainers"):
		return doorward.VerbExecute | verb, doorward.TraitEphemeralContainer
	case f.core("pods", "eviction"), f.Group == "lifecycle.k8s.io":
		return doorward.VerbDelete, 0
	case f.core("pods", "binding"):
		return doorward.VerbAdmin, 0
	case f.core("serviceaccounts", "token"):
		return doorward.VerbGrant, doorward.TraitToken
	case f.core("namespaces", "finalize"):
		// It ends what keeps a namespace from being deleted.
		return doorward.VerbAdmin | doorward.VerbDelete, doorward.TraitDeletesNamespace | doorward.TraitIrreversible | doorward.TraitUnbounded
	}
	return verb, 0
}

// tokenTypes are the types of Secrets that the cluster makes, or takes, a
// credential of.
var tokenTypes = set(strings.Fields("kubernetes.io/service-account-token bootstrap.kubernetes.io/token"))

// makesToken reports whether the body makes a Secret that is a credential. The
// type of a Secret that is there cannot be changed.
func (f *facts) makesToken() bool {
	if !f.core("secrets", "") {
		return false
	}
	t := f.body.get("type")
	return t.is(stringNode) && tokenTypes[t.text]
}

// setsWebhook reports whether a write of a custom resource's definition may
// send every object of it to a webhook.
func (f *facts) setsWebhook(r *Request) bool {
	if f.gvr() != "customresourcedefinitions.apiextensions.k8s.io" || f.body == nil || f.Verb == "delete" || f.Verb == "deletecollection" {
		return false
	}
	if r.ContentType == typeJSONPatch {
		return touches(f.body, []string{"spec", "conversion"})
	}
	c := f.body.at("spec", "conversion")
	if c == nil || c.kind == nullNode {
		return false
	}
	s := c.get("strategy")
	return !s.is(stringNode) || s.text != "None"
}
