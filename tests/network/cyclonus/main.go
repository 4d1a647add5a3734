// Answers questions about NetworkPolicies with the matcher of cyclonus: a cluster is a line of JSON on stdin, and its
// answers are a line of booleans on stdout. The caller resolves names of ports, as cyclonus itself does for its probes.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

type end struct {
	Namespace       string            `json:"namespace"`
	NamespaceLabels map[string]string `json:"namespaceLabels"`
	Labels          map[string]string `json:"labels"`
	IP              string            `json:"ip"`
	External        bool              `json:"external"`
}

type destination struct {
	end
	Port     int             `json:"port"`
	PortName string          `json:"portName"`
	Protocol corev1.Protocol `json:"protocol"`
}

type cluster struct {
	Policies  []*networkingv1.NetworkPolicy `json:"policies"`
	Questions []struct {
		Source      end         `json:"source"`
		Destination destination `json:"destination"`
	} `json:"questions"`
}

func (e end) peer() *matcher.TrafficPeer {
	if e.External {
		return &matcher.TrafficPeer{IP: e.IP}
	}
	return &matcher.TrafficPeer{
		Internal: &matcher.InternalPeer{
			PodLabels:       e.Labels,
			NamespaceLabels: e.NamespaceLabels,
			Namespace:       e.Namespace,
		},
		IP: e.IP,
	}
}

func answers(asked cluster) []bool {
	// Not simplified: that would be one more thing to be right or wrong, and changes no answer.
	policies := matcher.BuildNetworkPolicies(false, asked.Policies)
	found := make([]bool, 0, len(asked.Questions))
	for _, question := range asked.Questions {
		to := question.Destination
		found = append(found, policies.IsTrafficAllowed(&matcher.Traffic{
			Source:           question.Source.peer(),
			Destination:      to.peer(),
			ResolvedPort:     to.Port,
			ResolvedPortName: to.PortName,
			Protocol:         to.Protocol,
		}).IsAllowed())
	}
	return found
}

func run(in io.Reader, out io.Writer) error {
	decoder, buffered := json.NewDecoder(bufio.NewReader(in)), bufio.NewWriter(out)
	decoder.DisallowUnknownFields() // a field that is read by nobody would be a question that is not asked
	encoder := json.NewEncoder(buffered)
	for {
		var asked cluster
		if err := decoder.Decode(&asked); errors.Is(err, io.EOF) {
			return buffered.Flush()
		} else if err != nil {
			return err
		}
		if err := encoder.Encode(answers(asked)); err != nil {
			return err
		}
	}
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
