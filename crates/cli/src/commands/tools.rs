//! `quell tools`: the programs that a mesh is run and looked at with, found or fetched.

use crate::exit::{self, Failure};
use crate::tools::{self, Reach, Tool};
use crate::ui::Ui;
use serde_json::json;

/// Arguments of `quell tools`.
#[derive(Debug, clap::Args)]
pub(super) struct ToolsArgs {
    /// Which ones: temporal, grpcurl, jaeger. Default: all.
    #[arg(value_parser = known_tool)]
    names: Vec<&'static Tool>,
    /// Only look; download and build nothing.
    #[arg(long)]
    local: bool,
}

fn known_tool(name: &str) -> Result<&'static Tool, String> {
    let known = tools::ALL.iter().copied();
    known.clone().find(|tool| tool.name == name).ok_or_else(|| {
        let names: Vec<_> = known.map(|tool| tool.name).collect();
        format!("known are {}", names.join(", "))
    })
}

pub(super) async fn run(ui: Ui, args: ToolsArgs) -> Result<u8, Failure> {
    let wanted = if args.names.is_empty() {
        tools::ALL.to_vec()
    } else {
        args.names
    };
    let reach = if args.local { Reach::Local } else { Reach::Fetch };
    let mut found = serde_json::Map::new();
    let mut missing = false;
    for tool in wanted {
        match tools::find(tool, reach).await {
            Ok(program) => {
                ui.line(format!("{:11} {} ({})", tool.name, program.path.display(), program.how));
                found.insert(tool.name.to_owned(), json!(program.path));
            }
            Err(error) => {
                ui.line(error.to_string());
                found.insert(tool.name.to_owned(), json!(null));
                missing = true;
            }
        }
    }
    ui.result(&json!({ "tools": found }));
    Ok(if missing { exit::FAILED } else { exit::OK })
}
