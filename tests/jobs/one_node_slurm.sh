#!/usr/bin/env bash
# Set up Slurm with one node, this machine, on a bare Debian: bash tests/jobs/one_node_slurm.sh start|stop
# It needs root; it installs Debian's packages and starts munged, slurmctld and slurmd, which `stop` ends.
set -euo pipefail

stop() {
    for name in slurmd slurmctld munged; do
        for pid in $(cat /run/ser-slurm/$name.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
    done
}

[ "${1:-start}" = start ] || { stop; exit 0; }
command -v slurmctld slurmd munged sbatch >/dev/null ||
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy slurmctld slurmd slurm-client munge; }
mkdir -p /run/ser-slurm/state /run/ser-slurm/spool /run/munge /var/log/munge
chown munge:munge /run/munge /var/log/munge
cat > /etc/slurm/slurm.conf <<CONF
ClusterName=ser
SlurmctldHost=$(hostname)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
StateSaveLocation=/run/ser-slurm/state
SlurmdSpoolDir=/run/ser-slurm/spool
SlurmctldPidFile=/run/ser-slurm/slurmctld.pid
SlurmdPidFile=/run/ser-slurm/slurmd.pid
SlurmctldLogFile=/run/ser-slurm/slurmctld.log
SlurmdLogFile=/run/ser-slurm/slurmd.log
MaxArraySize=64
$(slurmd -C | head -1) State=UNKNOWN
PartitionName=main Nodes=$(hostname) Default=YES MaxTime=INFINITE State=UP
CONF
pgrep -x munged >/dev/null || runuser -u munge -- munged --pid-file=/run/munge/munged.pid
cp /run/munge/munged.pid /run/ser-slurm/munged.pid 2>/dev/null || true
slurmctld
slurmd
for _ in $(seq 60); do
    sinfo -h -o %T 2>/dev/null | grep -qx idle && exit 0
    sleep 1
done
sinfo
exit 1
