"""Keys and certificates of a cluster, made with openssl: two authorities, and an identity for each component.

Valid for 30 days: a cluster for tests is not meant to grow old. Private keys are readable by root alone.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from infra.images.errors import Unavailable
from tests.cluster.one_node.layout import API_SERVICE, NODE, NODE_ADDRESS, Cluster

_DAYS = "30"

# File name -> (common name, organization: the group that RBAC sees)
CLIENTS = {
    "admin": ("tidegate-admin", "system:masters"),
    "apiserver-kubelet": ("apiserver-kubelet", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "router": ("kube-router", "system:masters"),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
}
KUBECONFIGS = ("admin", "controller-manager", "scheduler", "proxy", "router", "kubelet")


def complete(cluster: Cluster) -> bool:
    return (cluster.certificates / "complete").exists()


def create(cluster: Cluster) -> None:
    folder = cluster.certificates
    folder.mkdir(parents=True, exist_ok=True)
    previous = os.umask(0o077)
    try:
        _openssl(folder, "genrsa", "-out", "sa.key", "2048")
        _openssl(folder, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        for authority in ("ca", "front-proxy-ca"):
            _key(folder, authority)
            _openssl(
                folder, "req", "-x509", "-new", "-key", f"{authority}.key", "-out", f"{authority}.crt", "-days", _DAYS,
                "-subj", f"/CN={authority}", "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
            )  # fmt: skip
        names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ]
        alternatives = [f"DNS:{name}" for name in names] + [f"IP:{a}" for a in (NODE_ADDRESS, API_SERVICE, "127.0.0.1")]
        _certificate(folder, "apiserver", "ca", "/CN=kube-apiserver", ["subjectAltName=" + ",".join(alternatives)])
        _certificate(folder, "front-proxy-client", "front-proxy-ca", "/CN=front-proxy-client", [])
        _certificate(folder, "kubelet-server", "ca", f"/CN={NODE}", [f"subjectAltName=DNS:{NODE},IP:{NODE_ADDRESS}"])
        for name, (common, organization) in CLIENTS.items():
            _certificate(folder, name, "ca", (f"/O={organization}" if organization else "") + f"/CN={common}", [])
        for name in KUBECONFIGS:
            _kubeconfig(cluster, name)
        (folder / "complete").touch()
    finally:
        os.umask(previous)


def kubeconfig(cluster: Cluster, name: str) -> Path:
    return cluster.folder / f"{name}.kubeconfig"


def _kubeconfig(cluster: Cluster, name: str) -> None:
    folder = cluster.certificates
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster.name, "cluster": {"server": cluster.api, "certificate-authority": str(folder / "ca.crt")}}
        ],
        "users": [
            {
                "name": name,
                "user": {"client-certificate": str(folder / f"{name}.crt"), "client-key": str(folder / f"{name}.key")},
            }
        ],
        "contexts": [{"name": cluster.unique, "context": {"cluster": cluster.name, "user": name}}],
        "current-context": cluster.unique,
    }
    kubeconfig(cluster, name).write_text(json.dumps(document, indent=1))


def _key(folder: Path, name: str) -> None:
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")


def _certificate(folder: Path, name: str, authority: str, subject: str, extensions: list[str]) -> None:
    _key(folder, name)
    lines = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth", *extensions]
    (folder / f"{name}.ext").write_text("\n".join(lines) + "\n")
    _openssl(folder, "req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
    _openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
        "-CAcreateserial", "-out", f"{name}.crt", "-days", _DAYS, "-extfile", f"{name}.ext",
    )  # fmt: skip


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"credentials: `openssl {arguments[0]}` failed: {done.stderr.strip().splitlines()[-1:]}")
