//! `ocelli admin`: shows what a running searcher serves, and changes it, over gRPC.

use anyhow::Result;
use ocelli_proto::v1;
use ocelli_proto::v1::admin_service_client::AdminServiceClient;
use serde_json::{Value, json};

use crate::output::{Format, cell, counted, print, thousands};
use crate::remote::{RemoteArgs, timed};

/// The commands for an operator. If the server has tokens, they need one with the role admin.
#[derive(Debug, clap::Subcommand)]
pub enum AdminCommand {
    /// Show what is served, which shards fail, and whether traffic is wanted
    Status,
    /// List the generations of an index, on disk and served
    Generations(IndexArg),
    /// Make a generation current, on disk and in the server
    Activate {
        #[command(flatten)]
        index: IndexArg,
        /// The generation that is current; another one is an error
        #[arg(long, value_name = "N")]
        expected: u64,
        /// The generation that becomes current
        #[arg(long, value_name = "N")]
        generation: u64,
    },
    /// Make the parent of the current generation current
    Rollback {
        #[command(flatten)]
        index: IndexArg,
        /// The generation that is current; another one is an error
        #[arg(long, value_name = "N")]
        expected: u64,
    },
    /// Open the current generation again, for example after a shard was put back
    Reload(IndexArg),
    /// Ask for no more traffic, and wait until running requests have ended
    Drain {
        /// How long to wait, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 30_000)]
        wait_ms: u32,
    },
    /// Ask for traffic again
    Resume,
}

/// The index of a command.
#[derive(Clone, Debug, clap::Args)]
pub struct IndexArg {
    /// Name of the index; not needed if the server has only one
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    index: String,
}

/// Asks and prints.
///
/// # Errors
/// A server that cannot be reached, or what it refuses.
pub fn run(remote: &RemoteArgs, command: AdminCommand, format: Format) -> Result<()> {
    macro_rules! ask {
        ($method:ident, $request:expr) => {
            remote.ask(async |channel, timeout| {
                AdminServiceClient::new(channel).$method(timed($request, timeout)).await
            })?
        };
    }
    match command {
        AdminCommand::Status => {
            print(format, &status_json(ask!(get_status, v1::GetStatusRequest {})), status_text)
        }
        AdminCommand::Generations(IndexArg { index }) => {
            let found = ask!(list_generations, v1::ListGenerationsRequest { index });
            print(format, &generations_json(found), generations_text)
        }
        AdminCommand::Activate { index: IndexArg { index }, expected, generation } => {
            let request = v1::ActivateGenerationRequest { index, expected, generation };
            let done = ask!(activate_generation, request);
            changed(format, done.generation, done.open_ms, Vec::new())
        }
        AdminCommand::Rollback { index: IndexArg { index }, expected } => {
            let done = ask!(rollback, v1::RollbackRequest { index, expected });
            changed(format, done.generation, done.open_ms, Vec::new())
        }
        AdminCommand::Reload(IndexArg { index }) => {
            let done = ask!(reload, v1::ReloadRequest { index });
            changed(format, done.generation, done.open_ms, done.faults)
        }
        AdminCommand::Drain { wait_ms } => drained(
            format,
            ask!(drain, v1::DrainRequest { drain: Some(true), timeout_ms: wait_ms }),
        ),
        AdminCommand::Resume => {
            drained(format, ask!(drain, v1::DrainRequest { drain: Some(false), timeout_ms: 0 }))
        }
    }
}

fn faults_json(faults: Vec<v1::ShardFault>) -> Vec<Value> {
    let fault = |fault: v1::ShardFault| {
        let reason = fault.reason().as_str_name().trim_start_matches("ERROR_REASON_").to_owned();
        json!({ "shard": fault.shard, "reason": reason, "message": fault.message })
    };
    faults.into_iter().map(fault).collect()
}

/// One line for each of `faults`: `how` it fails, its message and its reason.
fn faults_text(how: &str, faults: &Value) -> String {
    let faults = faults.as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |fault: &Value| {
        format!("  {how}: {} ({})\n", word(&fault["message"]), word(&fault["reason"]))
    };
    faults.iter().map(line).collect()
}

/// A value as text, without the quotes of JSON.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| cell(text).into_owned())
}

fn number(value: &Value) -> String {
    thousands(value.as_u64().unwrap_or_default())
}

fn status_json(status: v1::GetStatusResponse) -> Value {
    let index = |index: v1::IndexStatus| {
        json!({
            "name": index.name,
            "generation": index.generation,
            "rows": index.rows,
            "dim": index.dim,
            "nlist": index.nlist,
            "spec_hash": index.spec_hash,
            "shards": index.shards,
            "faults": faults_json(index.faults),
            "retired": index.retired,
            "reload_error": index.reload_error,
            "kept": faults_json(index.kept),
        })
    };
    json!({
        "ready": status.ready,
        "in_flight": status.in_flight,
        "version": status.version,
        "indexes": status.indexes.into_iter().map(index).collect::<Vec<_>>(),
    })
}

/// A number of shards.
fn shards(number: &Value) -> String {
    number.as_u64().map_or_else(|| format!("{number} shards"), |n| counted(n, "shard"))
}

fn status_text(status: &Value) -> String {
    let ready = if status["ready"] == true { "ready" } else { "draining" };
    let (in_flight, version) = (number(&status["in_flight"]), word(&status["version"]));
    let mut text = format!("{ready}, {in_flight} requests in flight, version {version}\n");
    for index in status["indexes"].as_array().map(Vec::as_slice).unwrap_or_default() {
        text += &format!(
            "{}: generation {}, {} images in {}; dim {}, nlist {}; spec {}\n",
            word(&index["name"]),
            index["generation"],
            number(&index["rows"]),
            shards(&index["shards"]),
            index["dim"],
            number(&index["nlist"]),
            word(&index["spec_hash"]),
        );
        if index["retired"] != 0 {
            text += &format!("  {} earlier generations still answer queries\n", index["retired"]);
        }
        if index["reload_error"] != "" {
            text += &format!("  not opened: {}\n", word(&index["reload_error"]));
        }
        text += &faults_text("fails", &index["faults"]);
        text += &faults_text("answers, but cannot be opened again", &index["kept"]);
    }
    text
}

fn generations_json(found: v1::ListGenerationsResponse) -> Value {
    let generation = |generation: v1::GenerationInfo| {
        json!({
            "number": generation.number,
            "parent": generation.parent,
            "model": generation.model,
            "shards": generation.shards,
            "rows": generation.rows,
            "bytes": generation.bytes,
            "error": generation.error,
        })
    };
    json!({
        "current": found.current,
        "serving": found.serving,
        "generations": found.generations.into_iter().map(generation).collect::<Vec<_>>(),
    })
}

fn generations_text(found: &Value) -> String {
    let mut text = String::new();
    for generation in found["generations"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let number_is = |name: &str| generation["number"] == found[name];
        let mark = match (number_is("current"), number_is("serving")) {
            (true, true) => " (current, served)",
            (true, false) => " (current)",
            (false, true) => " (served)",
            (false, false) => "",
        };
        text += &match generation["error"].as_str().unwrap_or_default() {
            "" => format!(
                "generation {}{mark}: {} images in {}, {} bytes; from {}, model {}\n",
                generation["number"],
                number(&generation["rows"]),
                shards(&generation["shards"]),
                number(&generation["bytes"]),
                generation["parent"],
                word(&generation["model"]),
            ),
            error => format!("generation {}{mark}: {}\n", generation["number"], cell(error)),
        };
    }
    text
}

fn changed(
    format: Format,
    generation: u64,
    open_ms: u64,
    faults: Vec<v1::ShardFault>,
) -> Result<()> {
    let faults = faults_json(faults);
    let report = json!({ "generation": generation, "open_ms": open_ms, "faults": faults });
    print(format, &report, |report| {
        format!(
            "generation {} answers, opened in {} ms\n{}",
            report["generation"],
            report["open_ms"],
            faults_text("fails", &report["faults"])
        )
    })
}

fn drained(format: Format, done: v1::DrainResponse) -> Result<()> {
    print(format, &json!({ "in_flight": done.in_flight }), |report| {
        format!("{} requests in flight\n", report["in_flight"])
    })
}
