"""Values that the chart is rendered with in the tests: each option is set in at least one of them."""

from typing import Any

# Of the Prometheus operator and KEDA, which the API servers of the tests do not serve.
OTHERS_APIS = {"monitoring.coreos.com/v1", "keda.sh/v1alpha1"}

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "for trying": {
        "image": {"tag": "dev"},
        "postgresql": {"enabled": True, "password": "laptop"},
        "server": {"replicas": 1},
        "operator": {"replicas": 1},
        "service": {"type": "NodePort", "nodePort": 30080},
        "networkPolicy": {"enabled": True},
    },
    "production": {
        "image": {
            "repository": "registry.example.com/tenantry",
            "digest": f"sha256:{'0' * 64}",
            "pullSecrets": ["registry"],
        },
        "s3": {"endpointUrl": "https://s3.example.com", "region": "eu-central-1"},
        "server": {
            "cacheBytes": 2 << 30,
            "resources": {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
            "env": {
                "TENANTRY_LIMIT_BURST": 1_000_000,
                "TENANTRY_OPEN_LISTS": True,
                "TENANTRY_LOG_LEVEL": "debug",
            },
            "extraVolumes": [{"name": "models", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "models", "mountPath": "/models"}],
            "serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/reader"},
            "podAnnotations": {"example.com/team": "ml"},
            "topologyKey": "topology.kubernetes.io/zone",
            "nodeSelector": {"kubernetes.io/arch": "arm64"},
            "tolerations": [{"key": "ml", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
        },
        "operator": {"env": {"TENANTRY_LOG_LEVEL": "debug"}},
        "autoscaling": {"by": "cpu"},
        "networkPolicy": {"enabled": True},
        "monitoring": {"podMonitor": True, "alerts": True, "dashboard": True},
        "priorityClass": {"create": True},
        "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
    },
    "tls": {"tls": {"secretName": "tenantry-tls"}},
    "fleet's secret": {"fleet": {"secretName": "tenantry-fleet"}},
    "busy": {"autoscaling": {"by": "busy"}, "priorityClass": {"name": "system-cluster-critical"}},
    "keda": {"autoscaling": {"by": "keda", "prometheusUrl": "http://prometheus.monitoring:9090"}},
}
