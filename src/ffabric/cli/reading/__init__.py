"""Commands that read what is there: values, manifests, traces."""
