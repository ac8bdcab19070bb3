"""The GPU probe's verdicts, and SSH command lines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator import probe, ssh
from orchestrator.remote import Remote
from providers.errors import NotReachable, WrongGpu

L40 = "gpu: NVIDIA L40, 46068, GPU-aaaa, 0\n"


def test_the_promised_gpu_passes() -> None:
    proof = probe.judge(L40 + "cuda: ok 1\n", 0, gpu="l40", count=1)
    assert (proof.names, proof.uuids, proof.memory_mib, proof.warning) == (
        ("NVIDIA L40",),
        ("GPU-aaaa",),
        (46068,),
        None,
    )


def test_cuda_that_could_not_be_checked_is_a_warning() -> None:
    proof = probe.judge(L40 + "cuda: not checked (no python3)\n", 0, gpu="l40", count=1)
    assert proof.warning
    assert "no python3" in proof.warning


def test_more_gpus_than_promised_are_fine() -> None:
    assert len(probe.judge(L40 * 2, 0, gpu="l40", count=1).names) == 2


SHARED = "gpu: NVIDIA L40, 46068, GPU-aaaa, 0\ngpu: NVIDIA L40, 46068, GPU-bbbb, 7\n"


@pytest.mark.parametrize(
    ("visible", "kept"), [("GPU-aaaa", ["GPU-aaaa"]), ("GPU-a", ["GPU-aaaa"]), ("0", ["GPU-aaaa"])]
)
def test_on_a_shared_machine_only_the_visible_gpus_count(visible: str, kept: list[str]) -> None:
    proof = probe.judge(f"{SHARED}visible: {visible}\n", 0, gpu="l40", count=1)
    assert list(proof.uuids) == kept
    with pytest.raises(WrongGpu, match="1 GPUs where 2"):
        probe.judge(f"{SHARED}visible: {visible}\n", 0, gpu="l40", count=2)


@pytest.mark.parametrize("visible", ["GPU-cccc", "7", "GPU-", "MIG-1234", "NoDevFiles"])
def test_visible_devices_that_cannot_be_understood_hide_no_fault(visible: str) -> None:
    with pytest.raises(WrongGpu, match="ECC"):
        probe.judge(f"{SHARED}visible: {visible}\n", 0, gpu="l40", count=1)


@pytest.mark.parametrize(
    ("output", "count", "code"),
    [
        ("gpu: NVIDIA L40S, 46068, GPU-a, 0\n", 1, "wrong-gpu"),
        ("gpu: Tesla T4, 15360, GPU-a, 0\n", 1, "wrong-gpu"),
        (L40, 2, "too-few"),
        ("gpu: NVIDIA L40, 46068, GPU-a, 7\n", 1, "ecc"),
        (L40 + "cuda: failed 999\n", 1, "cuda-init"),
        ("gpu: No devices were found\n", 1, "no-gpu"),
    ],
)
def test_what_is_not_the_promised_gpu_is_refused(output: str, count: int, code: str) -> None:
    with pytest.raises(WrongGpu) as caught:
        probe.judge(output, 0, gpu="l40", count=count)
    assert caught.value.code == code


def test_a_machine_without_a_driver_is_refused() -> None:
    with pytest.raises(WrongGpu) as caught:
        probe.judge("probe: no nvidia-smi\n", 3, gpu="l40", count=1)
    assert caught.value.code == "no-nvidia-smi"


def test_a_probe_that_did_not_run_is_not_a_verdict() -> None:
    with pytest.raises(NotReachable):
        probe.judge("Permission denied (publickey).", 255, gpu="l40", count=1)


def test_unreadable_ecc_counts_are_no_error() -> None:
    assert probe.judge("gpu: NVIDIA L40, 46068, GPU-a, [N/A]\n", 0, gpu="l40", count=1).cuda == "not checked"


def test_the_probe_is_posix_sh(tmp_path: Path) -> None:
    """Run for real by /bin/sh with a stand-in nvidia-smi first on the path."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "NVIDIA L40, 46068, GPU-x, 0"\n', encoding="utf-8")
    tool.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-s"], input=probe.SCRIPT, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}
    )
    assert probe.judge(done.stdout, done.returncode, gpu="l40", count=1).names == ("NVIDIA L40",)
    without = subprocess.run(
        ["/bin/sh", "-s"], input=probe.SCRIPT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    if shutil.which("nvidia-smi") is None:
        assert without.returncode == 3


def test_the_host_key_is_pinned_after_the_first_contact(tmp_path: Path) -> None:
    known = tmp_path / "known" / "orch-x"
    target = ssh.Target("127.0.0.1", 2222, "root", tmp_path / "key", known, "orch-x")
    assert "StrictHostKeyChecking=accept-new" in target.options()
    known.parent.mkdir()
    known.write_text("orch-x ssh-ed25519 AAAA\n", encoding="utf-8")
    assert "StrictHostKeyChecking=yes" in target.options()


def test_a_remote_command_arrives_word_for_word(tmp_path: Path) -> None:
    target = ssh.Target("127.0.0.1", 2222, "root", tmp_path / "key", tmp_path / "known", "x")
    argv = Remote(target).ssh_argv(["echo", "two words", "$HOME", "a'b"])
    assert argv[-1] == """echo 'two words' '$HOME' 'a'"'"'b'"""


def test_the_key_pair_is_made_once_and_private(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen: apt-get install openssh-client")
    key = tmp_path / "ssh" / "id"
    public = ssh.ensure_key(key)
    assert public.startswith("ssh-ed25519 ")
    assert key.stat().st_mode & 0o777 == 0o600
    assert ssh.ensure_key(key) == public
    assert sorted(path.name for path in key.parent.iterdir()) == ["id", "id.pub"]


@pytest.mark.parametrize("line", ["NVIDIA A10-24Q, 24512", "NVIDIA A10-4Q, 4032", "GRID A10-8C, 8192"])
def test_a_virtual_gpu_counts_as_its_board(line: str) -> None:
    assert probe.judge(f"gpu: {line}, GPU-a, [N/A]\n", 0, gpu="a10", count=1).names


def test_a_virtual_gpu_of_another_board_is_refused() -> None:
    with pytest.raises(WrongGpu):
        probe.judge("gpu: NVIDIA A10-24Q, 24512, GPU-a, [N/A]\n", 0, gpu="l40", count=1)
