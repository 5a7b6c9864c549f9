//! Checks of clock, disk, limits and kernel: what has to be in order before anything else can be.

mod clock;
mod resources;
mod room;
mod system;

pub(super) use self::system::owner_id;
use super::Check;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "clock",
        asks: "Is the clock where files of the mesh say that it has to be?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { clock::right(patient) }),
    },
    Check {
        name: "ntp",
        asks: "Is the clock kept right?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(clock::kept(patient)),
    },
    Check {
        name: "read-only",
        asks: "Can be written where the agent has to write?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { room::writable(patient) }),
    },
    Check {
        name: "disk",
        asks: "Is there room for state, logs and sockets?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { room::space(patient) }),
    },
    Check {
        name: "inodes",
        asks: "Is there room for more files?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { room::inodes(patient) }),
    },
    Check {
        name: "account",
        asks: "Is there the user that the agent and Envoy run as?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { system::account(patient) }),
    },
    Check {
        name: "state-owner",
        asks: "Does the state belong to the agent, and to nobody else?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { room::owner(patient) }),
    },
    Check {
        name: "memory",
        asks: "Is there memory left?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { resources::memory(patient) }),
    },
    Check {
        name: "open-files",
        asks: "May more files and connections be opened?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { resources::open_files(patient) }),
    },
    Check {
        name: "kernel",
        asks: "Is the kernel new enough for the traffic rules?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { system::kernel(patient) }),
    },
    Check {
        name: "cgroup",
        asks: "Can programs be told apart by their units, where that is asked for?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { system::cgroup(patient) }),
    },
    Check {
        name: "systemd",
        asks: "Is systemd there, and new enough?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(system::systemd(patient)),
    },
    Check {
        name: "units",
        asks: "Is the service installed, and started at boot?",
        needs: &["systemd"],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { system::units(patient) }),
    },
    Check {
        name: "hostname",
        asks: "Does the machine know its own name?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(system::hostname(patient)),
    },
];
