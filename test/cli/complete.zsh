# Prints what zsh offers for a command line: zsh -f complete.zsh SCRIPT 'laurel gen'; each offer is a line `offered:WORD`.
# An inner shell on a terminal of its own completes; its compadd prints what it is given instead of showing it.
zmodload zsh/zpty
zpty -b inner zsh -f -i
setup() {
  PS1='' PS2='' RPS1=''
  autoload -Uz compinit && compinit -u -D
  source $1
  compadd() {
    local -a hits
    # Calls that only compute are left alone.
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
      builtin compadd "$@"
      return
    fi
    builtin compadd -A hits "$@"
    print -rl -- 'offered:'${^hits}
  }
  finish() { print -r -- '<<done>>'; exit }
  show() { zle complete-word; finish }
  zle -N show
  bindkey '^I' show
  print -r -- '<<ready>>'
}
zpty -w inner "$(functions setup); setup ${(q)1}"
zpty -r inner discard $'*<<ready>>\r\n*'
zpty -w -n inner "$2"$'\t'
zpty -r inner shown '*<<done>>*'
print -r -- $shown
