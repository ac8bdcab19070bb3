"""CoreWeave Kubernetes Service, and any other Kubernetes cluster with GPU nodes: pods on whole-node pools."""
