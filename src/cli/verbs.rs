//! The verbs: one list for what clap knows, for what is done, and for each of them alone.

use clap::Subcommand;

use super::{
    Failure, Global, artifact, attach, commit, completion, container, copy, cp, create, diff,
    doctor, events, exec, export, generate, history, image, images, import, info, inspect, kill,
    load, login, logout, logs, manifest, oci, pause, port, ps, pull, push, rename, rm, rmi, run,
    save, search, sign, start, stats, stop, system, tag, tags, top, untag, update, verify, version,
    volume, wait,
};

macro_rules! verbs {
    ($($variant:ident($args:ty) = $name:literal => $exec:expr;)*) => {
        /// What is to be done.
        #[derive(Debug, Subcommand)]
        pub(super) enum Command {
            $($variant($args),)*
        }

        impl Command {
            /// Do it, and return the exit code.
            pub(super) fn exec(self, global: &Global) -> Result<u8, Failure> {
                match self {
                    $(Self::$variant(args) => {
                        let exec: fn(&Global, $args) -> Result<u8, Failure> = $exec;
                        exec(global, args)
                    })*
                }
            }

            /// The definition of one verb. That of all of them takes a millisecond.
            pub(super) fn alone(verb: &str) -> Option<clap::Command> {
                match verb {
                    $($name => Some(<$args as clap::Args>::augment_args(clap::Command::new($name))),)*
                    _ => None,
                }
            }
        }
    };
}

verbs! {
    Artifact(artifact::Args) = "artifact" => |global, a| artifact::exec(global, &a);
    Attach(attach::Args) = "attach" => |global, a| attach::exec(global, &a);
    Commit(commit::Args) = "commit" => |global, a| commit::exec(global, &a);
    Completion(completion::Args) = "completion" => |global, a| completion::exec(global, &a);
    Container(Box<container::Args>) = "container" => |global, a| container::exec(global, *a);
    Copy(copy::Args) = "copy" => |global, a| copy::exec(global, &a);
    Cp(cp::Args) = "cp" => |global, a| cp::exec(global, &a);
    Create(Box<create::Args>) = "create" => |global, a| create::exec(global, *a);
    Diff(diff::Args) = "diff" => |global, a| diff::exec(global, &a);
    Doctor(doctor::Args) = "doctor" => |global, a| doctor::exec(global, &a);
    Events(events::Args) = "events" => |global, a| events::exec(global, &a);
    Exec(Box<exec::Args>) = "exec" => |global, a| exec::exec(global, *a);
    Export(export::Args) = "export" => |global, a| export::exec(global, &a);
    Generate(generate::Args) = "generate" => |global, a| generate::exec(global, &a);
    History(history::Args) = "history" => |global, a| history::exec(global, &a);
    Image(image::Args) = "image" => |global, a| image::exec(global, a);
    Images(images::Args) = "images" => |global, a| images::exec(global, &a);
    Import(import::Args) = "import" => |global, a| import::exec(global, &a);
    Info(info::Args) = "info" => |global, a| info::exec(global, &a);
    Inspect(inspect::Args) = "inspect" => |global, a| inspect::exec(global, &a);
    Kill(kill::Args) = "kill" => |global, a| kill::exec(global, &a);
    Load(load::Args) = "load" => |global, a| load::exec(global, &a);
    Login(login::Args) = "login" => |global, a| login::exec(global, &a);
    Logout(logout::Args) = "logout" => |global, a| logout::exec(global, &a);
    Logs(logs::Args) = "logs" => |global, a| logs::exec(global, &a);
    Manifest(manifest::Args) = "manifest" => |global, a| manifest::exec(global, &a);
    Oci(Box<oci::Args>) = "oci" => |global, a| Ok(oci::exec(global.root.as_deref(), &a));
    Pause(pause::Args) = "pause" => |global, a| pause::pause(global, &a);
    Port(port::Args) = "port" => |global, a| port::exec(global, &a);
    Ps(ps::Args) = "ps" => |global, a| ps::exec(global, &a);
    Pull(pull::Args) = "pull" => |global, a| pull::exec(global, &a);
    Push(push::Args) = "push" => |global, a| push::exec(global, &a);
    Rename(rename::Args) = "rename" => |global, a| rename::exec(global, &a);
    Restart(stop::RestartArgs) = "restart" => |global, a| stop::restart(global, &a);
    Rm(rm::Args) = "rm" => |global, a| rm::exec(global, &a);
    Rmi(rmi::Args) = "rmi" => |global, a| rmi::exec(global, &a);
    Run(Box<run::Args>) = "run" => |global, a| run::exec(global, *a);
    Save(save::Args) = "save" => |global, a| save::exec(global, &a);
    Search(search::Args) = "search" => |global, a| search::exec(global, &a);
    Sign(sign::Args) = "sign" => |global, a| sign::exec(global, &a);
    Start(start::Args) = "start" => |global, a| start::exec(global, &a);
    Stats(stats::Args) = "stats" => |global, a| stats::exec(global, &a);
    Stop(stop::Args) = "stop" => |global, a| stop::exec(global, &a);
    System(system::Args) = "system" => |global, a| system::exec(global, &a);
    Tag(tag::Args) = "tag" => |global, a| tag::exec(global, &a);
    Tags(tags::Args) = "tags" => |global, a| tags::exec(global, &a);
    Top(top::Args) = "top" => |global, a| top::exec(global, &a);
    Unpause(pause::UnpauseArgs) = "unpause" => |global, a| pause::unpause(global, &a);
    Untag(untag::Args) = "untag" => |global, a| untag::exec(global, &a);
    Update(update::Args) = "update" => |global, a| update::exec(global, &a);
    Verify(verify::Args) = "verify" => |global, a| verify::exec(global, &a);
    Version(version::Args) = "version" => |global, a| version::exec(global, &a);
    Volume(volume::Args) = "volume" => |global, a| volume::exec(global, &a);
    Wait(wait::Args) = "wait" => |global, a| wait::exec(global, &a);
}
