package kubelet

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// volumes writes the pod's volumes below dir and gives where each is. A kind
// that is not known here, a host path among them, is an empty folder.
func (k *Kubelet) volumes(ctx context.Context, p *corev1.Pod, dir string) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range p.Spec.Volumes {
		path := filepath.Join(dir, v.Name)
		if err := os.MkdirAll(path, 0o777); err != nil {
			return nil, err
		}
		out[v.Name] = path
		files := map[string][]byte{}
		var err error
		switch {
		case v.Secret != nil:
			err = k.secretFiles(ctx, p.Namespace, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional, files)
		case v.ConfigMap != nil:
			err = k.configFiles(ctx, p.Namespace, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional, files)
		case v.DownwardAPI != nil:
			downward(p, v.DownwardAPI.Items, files)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				switch {
				case err != nil:
				case s.Secret != nil:
					err = k.secretFiles(ctx, p.Namespace, s.Secret.Name, s.Secret.Items, s.Secret.Optional, files)
				case s.ConfigMap != nil:
					err = k.configFiles(ctx, p.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, files)
				case s.DownwardAPI != nil:
					downward(p, s.DownwardAPI.Items, files)
				case s.ServiceAccountToken != nil:
					err = k.accountToken(ctx, p, s.ServiceAccountToken, files)
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		for name, data := range files {
			file := filepath.Join(path, filepath.Join("/", name))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(file, data, 0o644); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (k *Kubelet) secretFiles(ctx context.Context, namespace, name string, items []corev1.KeyToPath, optional *bool, files map[string][]byte) error {
	s, err := k.core.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return skip(err, optional)
	}
	return choose(s.Data, items, files)
}

func (k *Kubelet) configFiles(ctx context.Context, namespace, name string, items []corev1.KeyToPath, optional *bool, files map[string][]byte) error {
	c, err := k.core.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return skip(err, optional)
	}
	data := maps.Clone(c.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for key, v := range c.Data {
		data[key] = []byte(v)
	}
	return choose(data, items, files)
}

func skip(err error, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return err
}

func choose(data map[string][]byte, items []corev1.KeyToPath, files map[string][]byte) error {
	if len(items) == 0 {
		maps.Copy(files, data)
		return nil
	}
	for _, i := range items {
		v, ok := data[i.Key]
		if !ok {
			return fmt.Errorf("there is no key %q", i.Key)
		}
		files[i.Path] = v
	}
	return nil
}

func (k *Kubelet) accountToken(ctx context.Context, p *corev1.Pod, s *corev1.ServiceAccountTokenProjection, files map[string][]byte) error {
	req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		ExpirationSeconds: s.ExpirationSeconds,
		BoundObjectRef:    &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID},
	}}
	if s.Audience != "" {
		req.Spec.Audiences = []string{s.Audience}
	}
	got, err := k.core.ServiceAccounts(p.Namespace).CreateToken(ctx, p.Spec.ServiceAccountName, req, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	files[s.Path] = []byte(got.Status.Token)
	return nil
}

func downward(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, files map[string][]byte) {
	for _, i := range items {
		if i.FieldRef != nil {
			files[i.Path] = []byte(field(p, i.FieldRef.FieldPath))
		}
	}
}

// field gives a field that a pod may show to its containers.
func field(p *corev1.Pod, path string) string {
	lines := func(m map[string]string) string {
		var out []string
		for _, key := range slices.Sorted(maps.Keys(m)) {
			out = append(out, fmt.Sprintf("%s=%q", key, m[key]))
		}
		return strings.Join(out, "\n")
	}
	switch path {
	case "metadata.name":
		return p.Name
	case "metadata.namespace":
		return p.Namespace
	case "metadata.uid":
		return string(p.UID)
	case "metadata.labels":
		return lines(p.Labels)
	case "metadata.annotations":
		return lines(p.Annotations)
	case "spec.nodeName":
		return p.Spec.NodeName
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName
	case "status.podIP", "status.podIPs":
		return p.Status.PodIP
	case "status.hostIP":
		return p.Status.HostIP
	}
	if name, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return p.Labels[strings.TrimSuffix(name, "']")]
	}
	if name, ok := strings.CutPrefix(path, "metadata.annotations['"); ok {
		return p.Annotations[strings.TrimSuffix(name, "']")]
	}
	return ""
}

// environment is that of a container of the pod.
func (k *Kubelet) environment(ctx context.Context, p *corev1.Pod, c corev1.Container) ([]string, error) {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "HOSTNAME=" + p.Name,
		"KUBERNETES_SERVICE_HOST=" + k.apiHost, "KUBERNETES_SERVICE_PORT=" + k.apiPort,
		// A namespace of one user cannot give files to others, which tar would
		// try for the client's user.
		"TAR_OPTIONS=--no-same-owner",
	}
	for _, from := range c.EnvFrom {
		files := map[string][]byte{}
		var err error
		switch {
		case from.SecretRef != nil:
			err = k.secretFiles(ctx, p.Namespace, from.SecretRef.Name, nil, from.SecretRef.Optional, files)
		case from.ConfigMapRef != nil:
			err = k.configFiles(ctx, p.Namespace, from.ConfigMapRef.Name, nil, from.ConfigMapRef.Optional, files)
		}
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(files)) {
			env = append(env, from.Prefix+key+"="+string(files[key]))
		}
	}
	for _, v := range c.Env {
		value := expand(v.Value, env)
		if f := v.ValueFrom; f != nil {
			files := map[string][]byte{}
			var err error
			switch {
			case f.FieldRef != nil:
				files["v"] = []byte(field(p, f.FieldRef.FieldPath))
			case f.SecretKeyRef != nil:
				err = k.secretFiles(ctx, p.Namespace, f.SecretKeyRef.Name, []corev1.KeyToPath{{Key: f.SecretKeyRef.Key, Path: "v"}}, f.SecretKeyRef.Optional, files)
			case f.ConfigMapKeyRef != nil:
				err = k.configFiles(ctx, p.Namespace, f.ConfigMapKeyRef.Name, []corev1.KeyToPath{{Key: f.ConfigMapKeyRef.Key, Path: "v"}}, f.ConfigMapKeyRef.Optional, files)
			}
			if err != nil {
				return nil, fmt.Errorf("environment variable %s: %w", v.Name, err)
			}
			value = string(files["v"])
		}
		env = append(env, v.Name+"="+value)
	}
	return env, nil
}
