package kubernetes

import "strings"

// builtin is the table of what a Kubernetes API server serves by itself, from
// version 1.16 to 1.37, betas and alphas included (its api/discovery folder,
// and k8s.io/api for what is gone by now). A group stands with its versions, and
// below it each resource: N (in a namespace) or C (of the cluster), its kind,
// its name and its subresources. The core group is called -.
const builtin = `
- v1
 N Binding bindings
 C ComponentStatus componentstatuses
 N ConfigMap configmaps
 N Endpoints endpoints
 N Event events
 N LimitRange limitranges
 C Namespace namespaces finalize status
 C Node nodes proxy status
 N PersistentVolumeClaim persistentvolumeclaims status
 C PersistentVolume persistentvolumes status
 N Pod pods attach binding ephemeralcontainers eviction exec log portforward proxy resize status
 N PodTemplate podtemplates
 N ReplicationController replicationcontrollers scale status
 N ResourceQuota resourcequotas status
 N Secret secrets
 N ServiceAccount serviceaccounts token
 N Service services proxy status
admissionregistration.k8s.io v1 v1beta1 v1alpha1
 C MutatingAdmissionPolicy mutatingadmissionpolicies
 C MutatingAdmissionPolicyBinding mutatingadmissionpolicybindings
 C MutatingWebhookConfiguration mutatingwebhookconfigurations
 C ValidatingAdmissionPolicy validatingadmissionpolicies status
 C ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings
 C ValidatingWebhookConfiguration validatingwebhookconfigurations
apiextensions.k8s.io v1 v1beta1
 C CustomResourceDefinition customresourcedefinitions status
apiregistration.k8s.io v1 v1beta1
 C APIService apiservices status
apps v1 v1beta2 v1beta1
 N ControllerRevision controllerrevisions
 N DaemonSet daemonsets status
 N Deployment deployments rollback scale status
 N ReplicaSet replicasets scale status
 N StatefulSet statefulsets scale status
auditregistration.k8s.io v1alpha1
 C AuditSink auditsinks
authentication.k8s.io v1 v1beta1 v1alpha1
 C SelfSubjectReview selfsubjectreviews
 C TokenReview tokenreviews
authorization.k8s.io v1 v1beta1
 N LocalSubjectAccessReview localsubjectaccessreviews
 C SelfSubjectAccessReview selfsubjectaccessreviews
 C SelfSubjectRulesReview selfsubjectrulesreviews
 C SubjectAccessReview subjectaccessreviews
autoscaling v2 v1 v2beta2 v2beta1
 N HorizontalPodAutoscaler horizontalpodautoscalers status
batch v1 v1beta1 v2alpha1
 N CronJob cronjobs status
 N Job jobs status
certificates.k8s.io v1 v1beta1 v1alpha1
 C CertificateSigningRequest certificatesigningrequests approval status
 C ClusterTrustBundle clustertrustbundles
 N PodCertificateRequest podcertificaterequests status
coordination.k8s.io v1 v1beta1 v1alpha2 v1alpha1
 N Lease leases
 N LeaseCandidate leasecandidates
discovery.k8s.io v1 v1beta1
 N EndpointSlice endpointslices
events.k8s.io v1 v1beta1
 N Event events
extensions v1beta1
 N DaemonSet daemonsets status
 N Deployment deployments rollback scale status
 N Ingress ingresses status
 N NetworkPolicy networkpolicies
 C PodSecurityPolicy podsecuritypolicies
 N ReplicaSet replicasets scale status
 N ReplicationControllerDummy replicationcontrollers scale
flowcontrol.apiserver.k8s.io v1 v1beta3 v1beta2 v1beta1 v1alpha1
 C FlowSchema flowschemas status
 C PriorityLevelConfiguration prioritylevelconfigurations status
internal.apiserver.k8s.io v1alpha1
 C StorageVersion storageversions status
lifecycle.k8s.io v1alpha1
 N EvictionRequest evictionrequests status
 N Eviction evictions status
networking.k8s.io v1 v1beta1 v1alpha1
 C IngressClass ingressclasses
 N Ingress ingresses status
 C IPAddress ipaddresses
 N NetworkPolicy networkpolicies status
 C ServiceCIDR servicecidrs status
node.k8s.io v1 v1beta1 v1alpha1
 C RuntimeClass runtimeclasses
policy v1 v1beta1
 N PodDisruptionBudget poddisruptionbudgets status
 C PodSecurityPolicy podsecuritypolicies
rbac.authorization.k8s.io v1 v1beta1 v1alpha1
 C ClusterRoleBinding clusterrolebindings
 C ClusterRole clusterroles
 N RoleBinding rolebindings
 N Role roles
resource.k8s.io v1 v1beta2 v1beta1 v1alpha3 v1alpha2 v1alpha1
 C DeviceClass deviceclasses
 C DeviceTaintRule devicetaintrules status
 N PodSchedulingContext podschedulingcontexts status
 N ResourceClaim resourceclaims status
 N ResourceClaimTemplate resourceclaimtemplates
 C ResourcePoolStatusRequest resourcepoolstatusrequests status
 C ResourceSlice resourceslices
scheduling.k8s.io v1 v1beta1 v1alpha3 v1alpha2 v1alpha1
 N CompositePodGroup compositepodgroups status
 N PodGroup podgroups status
 C PriorityClass priorityclasses
 N Workload workloads status
settings.k8s.io v1alpha1
 N PodPreset podpresets
storage.k8s.io v1 v1beta1 v1alpha1
 C CSIDriver csidrivers
 C CSINode csinodes status
 N CSIStorageCapacity csistoragecapacities
 C StorageClass storageclasses
 C VolumeAttachment volumeattachments status
 C VolumeAttributesClass volumeattributesclasses
storagemigration.k8s.io v1 v1beta1 v1alpha1
 C StorageVersionMigration storageversionmigrations status
`

// group is an API group that is built in.
type group struct {
	versions  map[string]bool
	resources map[string]*resource
}

// resource is one resource of such a group.
type resource struct {
	kind         string // of its objects
	namespaced   bool
	subresources map[string]bool
}

var groups = readTable(builtin)

func readTable(table string) map[string]*group {
	out := map[string]*group{}
	var g *group
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case line[0] != ' ':
			name := words[0]
			if name == "-" {
				name = ""
			}
			g = &group{versions: set(words[1:]), resources: map[string]*resource{}}
			out[name] = g
		default:
			g.resources[words[2]] = &resource{kind: words[1], namespaced: words[0] == "N", subresources: set(words[3:])}
		}
	}
	return out
}

func set(words []string) map[string]bool {
	out := map[string]bool{}
	for _, w := range words {
		out[w] = true
	}
	return out
}

// lookup gives the built-in resource, or nil.
func lookup(a *Attributes) *resource {
	if g := groups[a.Group]; g != nil {
		return g.resources[a.Resource]
	}
	return nil
}

// A form is what a body calls itself.
type form struct{ apiVersion, kind string }

// subresourceForms are the bodies of subresources that are not of the object's
// own kind: the first is the usual one.
var subresourceForms = map[string][]form{
	"scale":               {{"autoscaling/v1", "Scale"}, {"extensions/v1beta1", "Scale"}, {"apps/v1beta1", "Scale"}, {"apps/v1beta2", "Scale"}},
	"eviction":            {{"policy/v1", "Eviction"}, {"policy/v1beta1", "Eviction"}},
	"binding":             {{"v1", "Binding"}},
	"token":               {{"authentication.k8s.io/v1", "TokenRequest"}},
	"rollback":            {{"apps/v1beta1", "DeploymentRollback"}, {"extensions/v1beta1", "DeploymentRollback"}},
	"ephemeralcontainers": {{"v1", "Pod"}, {"v1", "EphemeralContainers"}},
}

// forms gives what the body of a write may call itself, and nil where that is
// not known.
func forms(a *Attributes, res *resource) []form {
	if list := subresourceForms[a.Subresource]; list != nil {
		return list
	}
	if res == nil {
		return nil
	}
	return []form{{a.apiVersion(), res.kind}}
}
